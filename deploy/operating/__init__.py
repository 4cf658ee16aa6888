"""What an operator does to the platform, from the machine it runs on. Needs Python 3.11 and Docker Compose."""
