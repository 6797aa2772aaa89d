"""What answers cost, as an owner sees it on the command line, and what a budget that is used up does."""

import asyncio

from deskmesh.orchestrator.v1 import turn_pb2
from tests.support.stack import Stack

QUESTION = "How long do I have to return something?"


async def test_an_answer_is_paid_for_and_a_budget_that_is_used_up_ends_in_a_ticket(stack: Stack) -> None:
    async with stack.client("customer") as customer:
        answered = await customer.ask(QUESTION)
        assert answered.usage.prompt_tokens
        async with asyncio.timeout(20):
            while True:
                arguments = ("usage", "--by", "step", "--conversation", answered.conversation_id)
                told = await asyncio.to_thread(stack.deskmesh_json, *arguments)
                if told["groups"]:
                    break
        assert sum(group["prompt_tokens"] for group in told["groups"]) == answered.usage.prompt_tokens
        assert all(group["cost_micros"] > 0 for group in told["groups"])

        create = ("budgets", "create", "--limit", "0", "--period", "day")
        (made,) = (await asyncio.to_thread(stack.deskmesh_json, *create))["budgets"]
        try:
            refused = await customer.ask(QUESTION)
            assert refused.decision == turn_pb2.DECISION_TICKET
            assert [step.error_reason for step in refused.steps if step.name == "budget"] == ["BUDGET_EXCEEDED"]
            raised = await asyncio.to_thread(stack.deskmesh_json, "budgets", "set", made["id"], "--limit", "5")
            assert raised["budgets"][0]["limit_micros"] == 5_000_000
            assert raised["budgets"][0]["spent_micros"] > 0
            again = await customer.ask(QUESTION)
            assert again.decision == turn_pb2.DECISION_ANSWER
        finally:
            await asyncio.to_thread(stack.deskmesh_json, "budgets", "delete", made["id"])
        assert (await asyncio.to_thread(stack.deskmesh_json, "budgets"))["budgets"] == []
