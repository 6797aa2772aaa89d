"""A folder of documents some of which are bad: the good ones are imported, the others are named with the cause."""

import time

from deskmesh.knowledge.v1 import article_service_pb2, ingest_service_pb2
from tests.support.stack import Stack


async def test_an_import_reports_each_document(stack: Stack) -> None:
    slug = f"imported-{int(time.time() * 1000)}"
    good = f"---\ntitle: Imported\nslug: {slug}\ncategory: tests\nlocale: en\n---\n\n## One\n\nImports work.\n"
    documents = {
        "good.md": good.encode(),
        "latin1.md": "---\ntitle: Café\n---\n\nText.".encode("latin-1"),
        "untitled.md": b"Just text without front matter.",
        "empty.md": b"---\ntitle: Empty\n---\n",
        "broken.md": b"---\ntitle: [unclosed\n---\n\nText.",
    }
    request = ingest_service_pb2.ImportDocumentsRequest(
        documents=[ingest_service_pb2.Document(path=path, content=content) for path, content in documents.items()]
    )
    async with stack.client("owner") as client:
        frames = [frame async for frame in client.ingest.ImportDocuments(request)]
        articles = article_service_pb2.GetArticleRequest(slug=slug)
        assert (await client.articles.GetArticle(articles)).article.published.title == "Imported"
    results = {frame.result.path: frame.result for frame in frames if frame.HasField("result")}
    assert results["good.md"].outcome == ingest_service_pb2.DOCUMENT_OUTCOME_CREATED
    for path in ("latin1.md", "untitled.md", "empty.md", "broken.md"):
        assert results[path].outcome == ingest_service_pb2.DOCUMENT_OUTCOME_SKIPPED
        assert results[path].skipped_because
    assert frames[-1].summary.skipped == 4
