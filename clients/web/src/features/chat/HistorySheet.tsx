import { Sheet } from "../../ui/Sheet";
import { HistoryList } from "./HistoryList";
import styles from "./HistoryList.module.css";

/** The list of conversations over the chat, where there is no room beside it. */
export default function HistorySheet({ onClose }: { onClose: () => void }) {
  return (
    <Sheet onClose={onClose} title="Conversations" side="left">
      <div className={styles.sheet}>
        <HistoryList onChoose={onClose} />
      </div>
    </Sheet>
  );
}
