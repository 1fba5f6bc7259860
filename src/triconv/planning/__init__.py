"""The choice of a schedule: what the schedules of each kernel cost on a target, and which is taken."""
