"""`deskmesh import`: bring a folder of Markdown into the knowledge base."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deskmesh.knowledge.v1.ingest_service_pb2 import DocumentOutcome, DocumentResult
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, connected, print_json, run

console = Console(highlight=False)


def outcome_of(result: DocumentResult) -> str:
    return DocumentOutcome.Name(result.outcome).removeprefix("DOCUMENT_OUTCOME_").lower()


@acting
def import_folder(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of Markdown files.")],
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Import every Markdown file of a folder and publish it; tells what was skipped and why."""

    async def work() -> int:
        results: list[DocumentResult] = []
        async with connected(person) as client:
            async for result in client.import_folder(folder):
                results.append(result)
                if not as_json:
                    why = f": {result.skipped_because}" if result.skipped_because else ""
                    console.print(f"{outcome_of(result):9}  {result.path}{why}", markup=False)
        counts = Counter(outcome_of(result) for result in results)
        if as_json:
            print_json(
                {
                    "documents": [
                        {
                            "path": result.path,
                            "outcome": outcome_of(result),
                            "article_id": result.article_id,
                            "passages": result.passages,
                            "skipped_because": result.skipped_because,
                        }
                        for result in results
                    ],
                    "summary": dict(counts) | {"passages": sum(result.passages for result in results)},
                }
            )
        else:
            console.print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "No Markdown files.")
        return 0

    run(work, as_json=as_json)
