-- An integrator lists the requests that were opened with its own token.
-- depends: 0001.tickets

CREATE INDEX requests_api_account ON requests (account, opened_at DESC, id DESC) WHERE channel = 'api';
