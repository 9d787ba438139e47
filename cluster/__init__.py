"""The farm: jobs, workers, scheduling and the command line. The only place that knows Ray."""
