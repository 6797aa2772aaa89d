"""The router and the autoscaling policy on clusters that no laptop can hold, with simulated time and replicas."""
