"""The web server's waiting room: requests that ask to wait for work are held without a thread."""
