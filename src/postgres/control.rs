//! The verbs of [`super::PostgresControl`], each handed to the file of its topic.
