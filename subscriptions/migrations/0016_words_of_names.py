from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

# As in models/names.py.
SIGNS = """!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"""
MORE_SIGNS = "«»·–—‘’‚“”„…"
LETTERS = (
    "łŁøØđĐÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝàáâãäåçèéêëìíîïñòóôõöùúûüýÿĀāĂăĄąĆćĈĉĊċČčĎďĒēĔĕĖėĘęĚěĜĝ"
    "ĞğĠġĢģĤĥĨĩĪīĬĭĮįİĴĵĶķĹĺĻļĽľŃńŅņŇňŌōŎŏŐőŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŲųŴŵŶŷŸŹźŻżŽž"
)
PLAIN = (
    "lLoOdDAAAAAACEEEEIIIINOOOOOUUUUYaaaaaaceeeeiiiinooooouuuuyyAaAaAaCcCcCcCcDdEeEeEeEeEeGg"
    "GgGgGgHhIiIiIiIiIJjKkLlLlLlNnNnNnOoOoOoRrRrRrSsSsSsSsTtTtUuUuUuUuUuUuWwYyYZzZzZz"
)


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


# In this language it keeps its cost: PostgreSQL asks the index, and works words out row by row only where nearly every
# row has them. Most names are ASCII, and there translating the others would take most of the time.
CREATE = f"""
CREATE OR REPLACE FUNCTION subscriptions_words(names text, more text DEFAULT '') RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
BEGIN
    names := names || ' ' || more;
    IF octet_length(names) > length(names) THEN
        names := translate(
            replace(names, 'ß', 'ss'), {quoted(MORE_SIGNS + LETTERS)}, {quoted(" " * len(MORE_SIGNS) + PLAIN)}
        );
    END IF;
    RETURN to_tsvector('simple', translate(names, {quoted(SIGNS)}, {quoted(" " * len(SIGNS))}));
END $$
"""


def words(*columns):
    return models.Func(*columns, function="subscriptions_words", output_field=SearchVectorField())


class Migration(migrations.Migration):
    # People go on working while the indexes are made.
    atomic = False

    dependencies = [("subscriptions", "0015_takeovers")]

    operations = [
        migrations.RunSQL(CREATE, "DROP FUNCTION subscriptions_words"),
        AddIndexConcurrently("account", GinIndex(words("name"), name="account_words")),
        AddIndexConcurrently("user", GinIndex(words("name", "email"), name="user_words")),
    ]
