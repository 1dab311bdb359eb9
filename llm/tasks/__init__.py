"""Tasks: problems with prompts and verifiers that no answer text can hang or crash."""
