import { useEffect, useSyncExternalStore } from "react";
import type { LiveConversation } from "./liveConversation";
import type { ChatState } from "./reducer";

/** The state of a conversation, kept live as long as the component is shown. */
export function useLiveConversation(conversation: LiveConversation): ChatState {
  useEffect(() => conversation.view(), [conversation]);
  return useSyncExternalStore(conversation.subscribe, conversation.snapshot);
}
