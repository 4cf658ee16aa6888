"""What the steps, the services and the scheduler agree on: pydantic models, and nothing that computes."""
