"""A language model, where an operator names one: it words what the agents computed, and decides nothing.

`narrate` asks any server with OpenAI's `/chat/completions`, after an investigation has ended, about the findings that are on record by then.
What comes back is text beside the computed result, marked as a model's: no severity, confidence, action or plan is made of it. Without a model,
or without an answer that stands, nothing is missing but that text.
"""
