"""What `import beam_grid as bg` gives: a lake opened from Python, its tables, SQL, runs, and how they look in a notebook.

opened.py   OpenLake: a lake, looked at as one version set has it
rows.py     Rows, LakeTable: rows that are read when they are asked for
features.py features of a lake, for training and for serving
runs.py     land, refine and run, and what they did
html.py     tables as HTML, everything escaped
plot.py     a chart of rows
"""
