import { ArrowUpRight } from "lucide-react";
import { usePrincipal } from "../../app/hooks";
import { Mark } from "../../ui/Avatar";
import styles from "./Starters.module.css";

/** Questions that every shop is asked. */
const QUESTIONS = [
  "How do I return something?",
  "When will my parcel arrive?",
  "Which ways can I pay?",
  "I'd like to talk to a person",
];

/** What an empty conversation offers. */
export function Starters({ onChoose }: { onChoose: (text: string) => void }) {
  const { name, organization } = usePrincipal();
  return (
    <div className={styles.starters}>
      <Mark size={48} />
      <h2>Hello {name.split(" ")[0]}, how can we help?</h2>
      <p>
        Ask in your own words. Answers come from {organization.name}'s help centre, with their sources, and a
        person is there when you want one.
      </p>
      <ul>
        {QUESTIONS.map((question) => (
          <li key={question}>
            <button type="button" onClick={() => onChoose(question)}>
              {question}
              <ArrowUpRight size={16} aria-hidden />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
