"""The stages, and the only code that imports torch; it runs in children alone.

In: a task as plain data and a folder. Out: files in that folder and a result as plain data. It knows neither store,
manifest nor engine.
"""
