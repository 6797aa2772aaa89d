export type Role = "customer" | "agent" | "supervisor" | "admin" | "owner";

/** Who is signed in, and where. */
export interface Principal {
  readonly userId: string;
  readonly name: string;
  readonly email: string;
  readonly organization: { readonly id: string; readonly slug: string; readonly name: string };
  readonly roles: readonly Role[];
}

/** Staff see everybody's tickets; customers see their own. */
export function isStaff(principal: Principal): boolean {
  return principal.roles.some((role) => role !== "customer");
}

export interface Credentials {
  readonly email: string;
  readonly password: string;
  readonly organization: string;
}

export interface NewAccount extends Credentials {
  readonly name: string;
}
