"""The golden questions: each with the sentences of a passage, and which of them holds the answer.

Few, as every deployment asks them all of the old and the new version. They are of the kind that people ask a shop, and
of no shop in particular.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Golden:
    """A question; `right` is the index of the sentence that answers it."""

    question: str
    sentences: tuple[str, ...]
    right: int


QUESTIONS = (
    Golden(
        "How many days do I have to send something back?",
        (
            "Orders are packed on working days until four in the afternoon.",
            "You may send back anything you do not like within 30 days of its delivery.",
            "Gift cards are valid in every shop.",
        ),
        1,
    ),
    Golden(
        "What does shipping cost?",
        (
            "Shipping costs 4.90 for parcels of up to ten kilograms.",
            "Our shops open at nine in the morning.",
            "Batteries must not be thrown into household waste.",
        ),
        0,
    ),
    Golden(
        "Can I change the address of my order?",
        (
            "Every jacket comes with two years of guarantee.",
            "Newsletters go out on the first of each month.",
            "The address of an order can be changed until the parcel has left the warehouse.",
        ),
        2,
    ),
    Golden(
        "Which cards do you accept for payment?",
        (
            "Tents should be dried before they are stored.",
            "For payment we accept Visa, Mastercard and American Express cards.",
            "Repairs take about two weeks.",
        ),
        1,
    ),
    Golden(
        "How do I reset my password?",
        (
            "To reset your password, follow the link under the form for signing in.",
            "Sleeping bags are washed at thirty degrees.",
            "Parcels to islands need two more days.",
        ),
        0,
    ),
    Golden(
        "When is my refund paid?",
        (
            "A size chart stands beside each product.",
            "Sales end on Sunday at midnight.",
            "Your refund is paid within five working days after the parcel has reached us.",
        ),
        2,
    ),
)
