-- The records of the server, beside the database of Jesse.
CREATE DATABASE research OWNER jesse_user;
