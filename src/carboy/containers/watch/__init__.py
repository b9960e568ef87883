"""Looking at containers from outside: what they use and which processes they have, and what has happened to them."""
