"""One offline file of HTML that shows what was found, how, and at what cost."""
