-- A table whose column "va.l""ue" has every dependant that a backfill handles,
-- with hostile names.
CREATE SCHEMA "sch.e""ma";
GRANT USAGE ON SCHEMA "sch.e""ma" TO PUBLIC;
SET search_path = "sch.e""ma", public;
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE SEQUENCE "se.q""uence";
CREATE TABLE "group" (code integer PRIMARY KEY);
INSERT INTO "group" SELECT generate_series(0, 2000);
CREATE TABLE "ta.b""le" (
	gone integer,
	"or der" bigint,
	"select" text COLLATE "C",
	"va.l""ue" integer NOT NULL DEFAULT nextval('"se.q""uence"'),
	a123456789012345678901234567890123456789012345678901234567890_2 mood,
	tags text[],
	size positive,
	hidden boolean NOT NULL DEFAULT false,
	CONSTRAINT "p.k" PRIMARY KEY ("or der", "select"),
	CONSTRAINT "ch""eck" CHECK ("va.l""ue" >= 0 AND "va.l""ue" <> 7),
	CONSTRAINT pair CHECK ("va.l""ue" < 5000 OR NOT hidden) NO INHERIT,
	CONSTRAINT u23456789012345678901234567890123456789012345678901234567890_23 UNIQUE ("va.l""ue", "or der", "select") DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT "fk.1" FOREIGN KEY ("va.l""ue") REFERENCES "group" (code) ON UPDATE CASCADE DEFERRABLE
);
ALTER TABLE "ta.b""le" DROP COLUMN gone;
ALTER SEQUENCE "se.q""uence" OWNED BY "ta.b""le"."va.l""ue";
COMMENT ON COLUMN "ta.b""le"."va.l""ue" IS 'it''s a "value"';
COMMENT ON CONSTRAINT "ch""eck" ON "ta.b""le" IS 'never seven';
COMMENT ON CONSTRAINT "fk.1" ON "ta.b""le" IS 'a group';
GRANT SELECT ("va.l""ue"), UPDATE ("va.l""ue") ON "ta.b""le" TO "re.ad""er", writer WITH GRANT OPTION;
GRANT SELECT ("va.l""ue", "or der", hidden) ON "ta.b""le" TO "view owner";
ALTER TABLE "ta.b""le" ALTER "va.l""ue" SET STATISTICS 500, ALTER "va.l""ue" SET (n_distinct = 50);
CREATE INDEX "in.d""ex" ON "ta.b""le" USING btree ("va.l""ue" DESC NULLS LAST) INCLUDE (hidden) WITH (fillfactor = 70) WHERE NOT hidden;
COMMENT ON INDEX "in.d""ex" IS 'the "index"';
CREATE INDEX ex23456789012345678901234567890123456789012345678901234567890_23 ON "ta.b""le" ((("va.l""ue") % 10), lower("select"));
CREATE INDEX by_predicate ON "ta.b""le" ("or der") WHERE "va.l""ue" > 100;
CREATE UNIQUE INDEX identity ON "ta.b""le" ("or der", "select", "va.l""ue");
ALTER TABLE "ta.b""le" REPLICA IDENTITY USING INDEX identity;
ALTER TABLE "ta.b""le" CLUSTER ON ex23456789012345678901234567890123456789012345678901234567890_23;
CREATE STATISTICS "st.a""t" (ndistinct, dependencies) ON "va.l""ue", "or der" FROM "ta.b""le";
COMMENT ON STATISTICS "st.a""t" IS 'statistics';
ALTER STATISTICS "st.a""t" SET STATISTICS 77;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "tr.i""gger" BEFORE UPDATE OF "va.l""ue" ON "ta.b""le" FOR EACH ROW WHEN (OLD."va.l""ue" IS DISTINCT FROM NEW."va.l""ue") EXECUTE FUNCTION touch();
COMMENT ON TRIGGER "tr.i""gger" ON "ta.b""le" IS 'touches';
CREATE CONSTRAINT TRIGGER later AFTER UPDATE OF "va.l""ue" ON "ta.b""le" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER silent AFTER UPDATE OF "va.l""ue" ON "ta.b""le" FOR EACH STATEMENT EXECUTE FUNCTION touch();
ALTER TABLE "ta.b""le" DISABLE TRIGGER silent;
CREATE TRIGGER unrelated AFTER INSERT ON "ta.b""le" FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE "ta.b""le" ENABLE ROW LEVEL SECURITY;
CREATE POLICY "po.l""icy" ON "ta.b""le" FOR ALL TO "re.ad""er" USING ("va.l""ue" > 1) WITH CHECK ("va.l""ue" > 2);
CREATE POLICY elsewhere ON "group" USING (code IN (SELECT "va.l""ue" FROM "ta.b""le"));
CREATE VIEW "vi.e""w" WITH (security_barrier = true) AS SELECT "or der", "va.l""ue", hidden FROM "ta.b""le" WHERE "va.l""ue" > 3 WITH LOCAL CHECK OPTION;
ALTER VIEW "vi.e""w" OWNER TO "view owner";
GRANT SELECT ON "vi.e""w" TO "re.ad""er";
GRANT UPDATE ("va.l""ue"), INSERT (hidden) ON "vi.e""w" TO writer;
COMMENT ON VIEW "vi.e""w" IS 'a "view"';
COMMENT ON COLUMN "vi.e""w"."va.l""ue" IS 'of a view';
ALTER VIEW "vi.e""w" ALTER COLUMN hidden SET DEFAULT true;
CREATE VIEW above AS SELECT v."va.l""ue" + 1 AS more, g.code FROM "vi.e""w" v JOIN "group" g ON g.code = v."va.l""ue";
CREATE VIEW highest AS SELECT max(more) AS "MAX", count(*) FROM above;
REVOKE SELECT ON highest FROM postgres;
CREATE VIEW indirect AS SELECT hidden FROM "ta.b""le" WHERE "va.l""ue" = 1;
CREATE RULE instead AS ON DELETE TO indirect DO INSTEAD NOTHING;
CREATE TRIGGER "in.st""ead" INSTEAD OF INSERT ON above FOR EACH ROW EXECUTE FUNCTION touch();
CREATE RULE "ru.l""e" AS ON INSERT TO "group" WHERE NEW.code < 0 DO ALSO SELECT "va.l""ue" FROM "ta.b""le";
CREATE FUNCTION total(lowest integer) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT sum("va.l""ue") FROM "ta.b""le" WHERE "va.l""ue" >= total.lowest; END;
CREATE FUNCTION "by te.xt"() RETURNS bigint LANGUAGE sql AS 'SELECT sum("va.l""ue") FROM "sch.e""ma"."ta.b""le"';
CREATE PUBLICATION "pu.b" FOR TABLE "ta.b""le" ("or der", "select", "va.l""ue") WHERE ("va.l""ue" > 0), "group";
CREATE PUBLICATION everything FOR ALL TABLES;
INSERT INTO "ta.b""le" ("or der", "select", "va.l""ue") SELECT n, 'row ' || n, n + 10 FROM generate_series(1, 500) n;
RESET search_path;
