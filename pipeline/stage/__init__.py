"""The stage of the films that the project makes itself: people of nobody, how they move, speak and are drawn."""
