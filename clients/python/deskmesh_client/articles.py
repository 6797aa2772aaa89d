"""Importing a folder of Markdown."""

import pathlib
from collections.abc import AsyncIterator, Iterator

from deskmesh.knowledge.v1 import ingest_service_pb2, ingest_service_pb2_grpc
from deskmesh.knowledge.v1.ingest_service_pb2 import DocumentResult

# Limits of one call, as in the contract.
DOCUMENTS_A_CALL = 10
BYTES_A_CALL = 1_500_000
DOCUMENT_BYTES = 1_048_576
IMPORT_TIMEOUT_SECONDS = 600.0


def documents(folder: pathlib.Path) -> Iterator[ingest_service_pb2.Document]:
    """The folder's Markdown files by path. Of a file over the limit only one byte more than the limit is read."""
    for path in sorted(folder.rglob("*.md")):
        with path.open("rb") as stream:
            content = stream.read(DOCUMENT_BYTES + 1)
        yield ingest_service_pb2.Document(path=path.relative_to(folder).as_posix(), content=content)


async def import_folder(
    stub: "ingest_service_pb2_grpc.IngestServiceAsyncStub", folder: pathlib.Path
) -> AsyncIterator[DocumentResult]:
    """Import every Markdown file under `folder` and yield what became of each as it is done. Raises DeskmeshError."""
    batch: list[ingest_service_pb2.Document] = []
    size = 0
    for document in documents(folder):
        if len(document.content) > DOCUMENT_BYTES:
            yield DocumentResult(
                path=document.path,
                outcome=ingest_service_pb2.DOCUMENT_OUTCOME_SKIPPED,
                skipped_because="larger than 1 MiB",
            )
            continue
        if batch and (len(batch) == DOCUMENTS_A_CALL or size + len(document.content) > BYTES_A_CALL):
            async for result in _send(stub, batch):
                yield result
            batch, size = [], 0
        batch.append(document)
        size += len(document.content)
    if batch:
        async for result in _send(stub, batch):
            yield result


async def _send(
    stub: "ingest_service_pb2_grpc.IngestServiceAsyncStub", batch: list[ingest_service_pb2.Document]
) -> AsyncIterator[DocumentResult]:
    request = ingest_service_pb2.ImportDocumentsRequest(documents=batch)
    async for response in stub.ImportDocuments(request, timeout=IMPORT_TIMEOUT_SECONDS):
        if response.HasField("result"):
            yield response.result
