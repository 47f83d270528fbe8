"""Serve: a model behind an endpoint that speaks as OpenAI's does, with a plain page to ask it.

A request goes through these files in order: `listening` (the connection), `door` (host and token), `app` (routes),
`reading` (the body), `asked` (its fields), `prompts` and `pictures` (what the model reads), `batching` and `work`
(the model), `answers` (what goes back). Whoever refuses raises a `Refusal`.
"""
