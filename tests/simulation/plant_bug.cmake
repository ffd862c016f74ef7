# Copies SOURCE to OUTPUT with the one occurrence of ORIGINAL replaced by BUG.
file(READ "${SOURCE}" text)
string(FIND "${text}" "${ORIGINAL}" first)
string(FIND "${text}" "${ORIGINAL}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "${SOURCE} has to contain this text once, for the test that plants a bug there: ${ORIGINAL}")
endif()
string(REPLACE "${ORIGINAL}" "${BUG}" text "${text}")
file(WRITE "${OUTPUT}" "${text}")
