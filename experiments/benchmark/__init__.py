"""Speed and memory of eventjax beside other libraries: `python -m ...benchmark W1`."""
