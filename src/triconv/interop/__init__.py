"""One small file a framework: the contractions, registered with its autodiff from the one rule table."""
