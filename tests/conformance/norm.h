/* Names the requirement a test is about: a row of docs/devel/conformance.tsv. */
#pragma once

#include <glib.h>

#define NORM(id) g_test_message("NORM %s", (id))
