"""The passage and the sentences that answer, and how they are put together."""

from dataclasses import replace

import numpy as np

from services.orchestrator.answering.decision import evidence
from services.orchestrator.answering.learned import LEARNED, log_odds
from services.orchestrator.answering.lexicon import spoken_of
from services.orchestrator.answering.passages import Passage, Sentence
from services.orchestrator.answering.ranking import (
    Candidate,
    PassageVectors,
    Scored,
    Vector,
    Vectors,
    likelihood_context,
    likelihood_target,
    rank,
    with_likelihoods,
    worth_asking,
)
from services.orchestrator.answering.sentences import split_passage
from services.orchestrator.answering.wording import Markers, quotation
from tests.unit.orchestrator.passages import passage

QUESTION = "What does standard delivery cost?"
DELIVERY = passage(
    "psg_1", "Standard delivery takes 3 days. Standard delivery costs £3.95.", heading="Standard delivery"
)
RETURNS = passage(
    "psg_2", "Items can be returned within 45 days. Labels must be on.", title="Returns", heading="Period"
)


def vector(*numbers: float) -> Vector:
    """A vector of length one."""
    values = np.array(numbers, dtype=np.float32)
    return values / np.float32(np.linalg.norm(values))


ASKED = vector(1, 0)


def ranked(near: float = 0.9, far: float = 0.1) -> list[Candidate]:
    """Delivery is near the question, returns are far."""
    passages = {DELIVERY: split_passage(DELIVERY), RETURNS: split_passage(RETURNS)}
    known = {
        one.id: PassageVectors(
            vector(similarity, (1 - similarity**2) ** 0.5),
            vector(similarity, (1 - similarity**2) ** 0.5),
            tuple(vector(similarity, (1 - similarity**2) ** 0.5) for _ in passages[one]),
            tuple(vector(similarity, (1 - similarity**2) ** 0.5) for _ in passages[one]),
        )
        for one, similarity in ((DELIVERY, near), (RETURNS, far))
    }
    return rank(QUESTION, Vectors(ASKED, ASKED, ASKED), passages, known)


def texts(candidates: list[Candidate]) -> list[str]:
    """The sentences of the best candidate."""
    return [one.sentence.text for one in candidates[0].sentences]


def test_the_nearest_passage_and_the_sentence_of_the_asked_kind_come_first() -> None:
    candidates = ranked()
    assert [candidate.passage.id for candidate in candidates] == ["psg_1", "psg_2"]
    assert texts(candidates)[0] == "Standard delivery costs £3.95."
    assert candidates[0].features["common"] > candidates[1].features["common"]


def test_words_decide_between_equally_near_passages() -> None:
    assert ranked(0.5, 0.5)[0].passage is DELIVERY


def test_the_models_word_can_turn_the_order() -> None:
    candidates = ranked(0.5, 0.5)
    likelihoods = {(DELIVERY.id, 0): -1.0, (DELIVERY.id, 1): -9.0, (RETURNS.id, 0): -9.0, (RETURNS.id, 1): -9.0}
    turned = with_likelihoods(candidates, likelihoods)
    assert texts(turned)[0] == "Standard delivery takes 3 days."
    assert turned[0].likelihood == -1.0


def test_what_the_model_was_not_asked_about_stays_behind() -> None:
    candidates = ranked(0.1, 0.9)
    assert candidates[0].passage is RETURNS
    asked = with_likelihoods(candidates, {(DELIVERY.id, 1): -2.0})
    assert [candidate.passage.id for candidate in asked] == ["psg_1", "psg_2"]
    assert asked[0].sentences[-1].likelihood is None


def test_whole_passages_within_reach_are_asked_about() -> None:
    near = [replace(candidate, score=1.0 - 0.1 * place) for place, candidate in enumerate(ranked())]
    assert [one.passage.id for one in worth_asking(near, 4)] == ["psg_1", "psg_1", "psg_2", "psg_2"]
    assert len(worth_asking(near, 3)) == 2
    assert len(worth_asking(near, 1)) == 1
    far = [replace(candidate, score=1.0 - 0.5 * place) for place, candidate in enumerate(ranked())]
    assert [one.passage.id for one in worth_asking(far, 4)] == ["psg_1", "psg_1"]
    assert worth_asking([], 3) == []


def test_the_question_follows_the_sentence() -> None:
    sentence = Sentence("It costs £3.95.", DELIVERY, 0, 0)
    assert likelihood_context(sentence) == "Delivery: Standard delivery\nIt costs £3.95.\nQuestion:"
    assert likelihood_target("How \n much?") == " How much?"


def test_a_place_that_a_text_excludes_is_none_that_it_speaks_of() -> None:
    text = "Customers outside the European Union pay duty, except for Northern Ireland. Europe is near."
    assert spoken_of("Do I pay duty in Munich?", text) == "Customers   pay duty,  . Europe is near."
    assert spoken_of("Do I pay duty outside of Europe?", text) == spoken_of("And in Tokyo?", text) == text


def test_evidence_is_of_the_best_candidate() -> None:
    candidates = ranked()
    assert evidence(candidates) == log_odds(candidates[0].features)
    assert evidence(candidates) > evidence(candidates[1:])


def test_a_rare_word_that_the_passage_has_not_speaks_against_it() -> None:
    best = ranked()[0]
    stranger = {**best.features, "missing": best.features["missing"] + 0.5}
    assert evidence([replace(best, features=stranger)]) < evidence([best])


def test_what_was_learned_names_features_that_there_are() -> None:
    assert {*LEARNED.passage, *LEARNED.answering} == set(ranked()[0].features)


def test_one_sentence_when_it_leads_clearly_and_more_in_their_order_otherwise() -> None:
    candidates = ranked()
    assert [part.text for part in quotation("", candidates, clear_lead=0.0)] == ["Standard delivery costs £3.95."]
    assert [part.text for part in quotation("", candidates, clear_lead=9.0)] == [
        "Standard delivery takes 3 days.",
        "Standard delivery costs £3.95.",
    ]
    assert quotation("", []) == []


def test_at_most_three_sentences_and_none_that_is_far_behind() -> None:
    best = ranked()[0]
    four = passage("psg_3", "It is blue. It is light. It is warm. It is new.")
    scores = (0.9, 1.0, 0.5, 0.8)
    scored = [
        replace(best.sentences[0], sentence=one, score=score)
        for one, score in zip(split_passage(four), scores, strict=True)
    ]
    candidate = replace(best, passage=four, sentences=tuple(sorted(scored, key=lambda one: -one.score)))
    assert [part.text for part in quotation("", [candidate], clear_lead=9.0)] == [
        "It is blue.",
        "It is light.",
        "It is new.",
    ]
    assert [part.text for part in quotation("", [candidate], clear_lead=0.15)] == ["It is blue.", "It is light."]


def test_the_sentence_that_names_what_was_asked_about_comes_along() -> None:
    abroad = passage("psg_3", "Delivery to the Union costs £12. Norway is not in the Union. It takes 6 days.")
    scored = tuple(Scored(one, 1.0 - place) for place, one in enumerate(split_passage(abroad)))
    candidates = [Candidate(abroad, 2.0, {}, scored), *ranked()]

    def quoted(question: str) -> list[str]:
        return [part.text for part in quotation(question, candidates, clear_lead=0.5)]

    alone = ["Delivery to the Union costs £12."]
    assert quoted("What is delivery to Norway?") == [*alone, "Norway is not in the Union."]
    # Neither a word that is said already nor one that other passages have.
    assert quoted("What does the Union cost?") == alone
    assert quoted("How many days to the Union?") == alone


def test_what_is_not_verbatim_is_left_out() -> None:
    best = ranked()[0]
    forged = Sentence("Standard delivery costs nothing.", DELIVERY, 1, 0)
    sentences = tuple(type(one)(forged, one.score) for one in best.sentences[:1])
    candidate = Candidate(best.passage, best.score, best.features, sentences)
    assert quotation("", [candidate]) == []


def test_markers_number_passages_and_stand_behind_the_last_sentence_of_each() -> None:
    markers = Markers()
    assert markers.end() is None
    parts = [*quotation("", ranked(), clear_lead=9.0), *quotation("", ranked(0.1, 0.9), clear_lead=0.0)]
    pieces = [markers.mark(part) for part in parts]
    assert [piece.number for piece in pieces] == [1, 1, 2]
    assert [piece.first for piece in pieces] == [True, False, True]
    assert "".join(piece.text for piece in pieces) == (
        "Standard delivery takes 3 days. Standard delivery costs £3.95. [1] Items can be returned within 45 days."
    )
    end = markers.end()
    assert end is not None
    assert (end.text, end.number, end.first) == (" [2]", 2, False)
    cited: tuple[Passage, ...] = markers.passages
    assert [one.id for one in cited] == ["psg_1", "psg_2"]
