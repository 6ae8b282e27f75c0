"""What the commands do, by who uses them: `agency.py` (keys, charter, certificates), `steward.py` (a node),
`officer.py` (records), `auditor.py`. Each function takes the parsed arguments and returns the exit status.
"""
