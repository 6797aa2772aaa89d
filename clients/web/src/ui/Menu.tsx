import { Check } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import type { ReactNode } from "react";
import styles from "./Menu.module.css";

interface MenuProps {
  trigger: ReactNode;
  children: ReactNode;
  align?: "start" | "end";
  side?: "top" | "bottom";
  /** Given together when somebody else keeps the state. */
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
}

/** A menu on a button of its own. */
export function Menu({ trigger, children, align = "start", side = "bottom", ...state }: MenuProps) {
  return (
    // The page beside it stays reachable, and the menu stays within a landmark of it.
    <DropdownMenu.Root modal={false} {...state}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal container={document.getElementById("main")}>
        <DropdownMenu.Content
          className={styles.content}
          align={align}
          side={side}
          sideOffset={6}
          collisionPadding={8}
        >
          {children}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

export function MenuItem({
  icon,
  onSelect,
  children,
}: {
  icon?: ReactNode;
  onSelect: () => void;
  children: ReactNode;
}) {
  return (
    <DropdownMenu.Item className={styles.item} onSelect={onSelect}>
      {icon}
      {children}
    </DropdownMenu.Item>
  );
}

interface Choice<T extends string> {
  value: T;
  label: string;
  icon?: ReactNode;
}

/** One of several. */
export function MenuChoice<T extends string>({
  value,
  choices,
  onChange,
}: {
  value: T;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
}) {
  return (
    <DropdownMenu.RadioGroup value={value} onValueChange={(next) => onChange(next as T)}>
      {choices.map((choice) => (
        <DropdownMenu.RadioItem key={choice.value} value={choice.value} className={styles.item}>
          {choice.icon}
          {choice.label}
          <DropdownMenu.ItemIndicator className={styles.check}>
            <Check size={16} aria-hidden />
          </DropdownMenu.ItemIndicator>
        </DropdownMenu.RadioItem>
      ))}
    </DropdownMenu.RadioGroup>
  );
}

/** Any of several; the menu stays open. */
export function MenuChecks<T extends string>({
  values,
  choices,
  onChange,
}: {
  values: readonly T[];
  choices: readonly Choice<T>[];
  onChange: (values: readonly T[]) => void;
}) {
  const toggle = (value: T, on: boolean) =>
    onChange(on ? [...values, value] : values.filter((one) => one !== value));
  return choices.map((choice) => (
    <DropdownMenu.CheckboxItem
      key={choice.value}
      className={styles.item}
      checked={values.includes(choice.value)}
      onCheckedChange={(on) => toggle(choice.value, on === true)}
      onSelect={(event) => event.preventDefault()}
    >
      {choice.icon}
      {choice.label}
      <DropdownMenu.ItemIndicator className={styles.check}>
        <Check size={16} aria-hidden />
      </DropdownMenu.ItemIndicator>
    </DropdownMenu.CheckboxItem>
  ));
}

export function MenuTitle({ children }: { children: ReactNode }) {
  return <DropdownMenu.Label className={styles.title}>{children}</DropdownMenu.Label>;
}

export function MenuLine() {
  return <DropdownMenu.Separator className={styles.line} />;
}
