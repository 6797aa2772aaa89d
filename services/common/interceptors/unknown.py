"""Methods that nobody serves: refused like everything else, with a reason and the caller's trace."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from services.common.errors import MethodUnknown
from services.common.interceptors.call import RpcContext
from services.common.interceptors.errors import describe
from services.common.tracing import TRACEPARENT, Unsampled, enter_unsampled, well_formed

logger = logging.getLogger(__name__)

LONGEST_NAME = 200


class UnknownMethods(grpc.GenericRpcHandler):
    """To be registered after everything else, because it takes whatever is left."""

    def service(self, handler_call_details: Any) -> Any:
        """A handler that fits calls of every kind: it reads no request and sends no response."""
        method: str = handler_call_details.method

        async def refuse(_requests: Any, context: RpcContext) -> AsyncIterator[bytes]:
            header = dict(context.invocation_metadata() or ()).get(TRACEPARENT, "")
            enter_unsampled(Unsampled(header if isinstance(header, str) and well_formed(header) else ""))
            logger.info("unknown method", extra={"method": method[:LONGEST_NAME]})
            failure = describe(MethodUnknown())
            await context.abort(failure.code, failure.message, failure.trailers)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)
