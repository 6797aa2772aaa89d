import { Laptop, LogOut, Moon, ShieldCheck, Sun } from "lucide-react";
import type { ReactElement } from "react";
import { Menu, MenuChoice, MenuItem, MenuLine, MenuTitle } from "../ui/Menu";
import { useBackend, usePrincipal } from "./hooks";
import { useNavigate } from "./router";
import { useTheme } from "./theme";

const THEMES = [
  { value: "system", label: "Like the system", icon: <Laptop size={16} aria-hidden /> },
  { value: "light", label: "Light", icon: <Sun size={16} aria-hidden /> },
  { value: "dark", label: "Dark", icon: <Moon size={16} aria-hidden /> },
] as const;

export default function AccountMenu(props: {
  trigger: ReactElement;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}) {
  const { session } = useBackend();
  const { name, organization } = usePrincipal();
  const [theme, setTheme] = useTheme();
  const navigate = useNavigate();
  return (
    <Menu {...props} side="top">
      <MenuTitle>
        {name} at {organization.name}
      </MenuTitle>
      <MenuLine />
      <MenuTitle>Appearance</MenuTitle>
      <MenuChoice value={theme} choices={THEMES} onChange={setTheme} />
      <MenuLine />
      <MenuItem icon={<ShieldCheck size={16} aria-hidden />} onSelect={() => navigate("/security")}>
        Security
      </MenuItem>
      <MenuItem icon={<LogOut size={16} aria-hidden />} onSelect={() => session.signOut()}>
        Sign out
      </MenuItem>
    </Menu>
  );
}
