"""From traces and probe answers to numbers with intervals: one module a question, on arrays and files' columns."""
