"""mmbridge."""
