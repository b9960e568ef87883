/* The Levenshtein distance of two texts, one row of the table at a time. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *distance(PyObject *module, PyObject *args) {
    PyObject *a, *b;
    (void)module;
    if (!PyArg_ParseTuple(args, "UU", &a, &b))
        return NULL;
    Py_ssize_t rows = PyUnicode_GET_LENGTH(a), columns = PyUnicode_GET_LENGTH(b);
    Py_ssize_t *row = PyMem_Calloc((size_t)columns + 1, sizeof *row);
    if (row == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t j = 0; j <= columns; j++)
        row[j] = j;
    for (Py_ssize_t i = 1; i <= rows; i++) {
        Py_ssize_t diagonal = row[0];
        row[0] = i;
        for (Py_ssize_t j = 1; j <= columns; j++) {
            Py_ssize_t above = row[j];
            Py_ssize_t best = diagonal + (PyUnicode_READ_CHAR(a, i - 1) != PyUnicode_READ_CHAR(b, j - 1));
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    Py_ssize_t result = row[columns];
    PyMem_Free(row);
    return PyLong_FromSsize_t(result);
}

static PyMethodDef methods[] = {
    {"distance", distance, METH_VARARGS, "distance(a, b): how many characters are inserted, removed or replaced."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_distance", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__distance(void) { return PyModule_Create(&definition); }
