"""What happens around every RPC. One file a concern; `chain.py` puts them in their one order:

telemetry → errors → identity → authorization → deadline → validation → idempotency → the servicer's method.

The concerns are plain functions over a `Call`, composed once per RPC when its servicer is registered. That keeps a
unary call at one Python frame instead of the seven that as many gRPC interceptors would put on its way.
"""
