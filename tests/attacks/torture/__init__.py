"""Claims under torture: clients that retry, servers that are killed, and a judge of what was seen.

python -m tests.attacks.torture --operations 50000 --kills 100 --seed 1
python -m tests.attacks.torture --engine postgres --sidecars 3 --kills 60 --database-kills 10
python -m tests.attacks.torture.failover --rounds 10
"""
