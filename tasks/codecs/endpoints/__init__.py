"""OpenAI's endpoints: a module each turns request bodies into neutral ones, and neutral answers into bodies."""
