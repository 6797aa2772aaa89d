"""The models as programs written for OpenAI's API see them: `/v1/models`, `/v1/chat/completions`, `/v1/embeddings`."""
