"""A long run under mixed load with restarts, and a judge of what grew.

python -m tests.attacks.soak --seconds 1800 --seed 1
python -m tests.attacks.soak --engine postgres --seconds 600
"""
