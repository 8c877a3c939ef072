"""Claims under torture: clients that retry, servers that are killed, and a judge of what was seen.

python -m tests.torture --operations 50000 --kills 100 --seed 1
"""
