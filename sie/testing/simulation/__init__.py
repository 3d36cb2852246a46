"""A cluster in one Trio program: routers, workers, a store and a broker, with every edge between them made to fail.

Read first: schedule.py (what is done to the cluster), cluster.py (what runs), run.py (one schedule, to its history).
"""
