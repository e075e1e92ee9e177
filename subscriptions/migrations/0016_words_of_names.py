from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

# As in models/names.py.
SIGNS = """!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»·–—‘’‚“”„…"""
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


CREATE = f"""
CREATE FUNCTION subscriptions_words(names text, more text DEFAULT '') RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple', translate(
    replace(names || ' ' || more, 'ß', 'ss'), {quoted(SIGNS + LETTERS)}, {quoted(" " * len(SIGNS) + PLAIN)}
))
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
