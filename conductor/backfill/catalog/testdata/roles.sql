-- The roles of zoo.sql, which all databases of a server share.
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'writer') THEN
		CREATE ROLE "re.ad""er";
		CREATE ROLE "view owner";
		CREATE ROLE writer;
	END IF;
END $$;
