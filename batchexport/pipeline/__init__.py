"""Run the stages. This is the only code that imports torch, and it runs only in children.

In: a task as plain data and a folder. Out: files in that folder and a result as plain data. It knows neither store,
manifest nor engine.
"""
