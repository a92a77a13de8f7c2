"""The paper's experiments: its published figures, results of our own, and reports of both.

published   every figure of the paper's tables, as printed
results     the figures of one system by one protocol, as `evaluate.py --json` writes them
intervals   95 % intervals over clips
report      pages and tables of results, beside the published ones
"""
