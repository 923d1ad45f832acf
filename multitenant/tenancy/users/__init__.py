"""Users, who are in two databases at once: logging in, memberships, changing them."""
