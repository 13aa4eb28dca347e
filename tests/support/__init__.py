"""What tests share: real servers, real processes, and waiting without sleeping."""
