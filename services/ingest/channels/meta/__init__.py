"""Meta's platforms: Messenger, Instagram and WhatsApp."""
